"""Expectations of functions of Gaussian variables, in closed form or by certified quadrature."""
