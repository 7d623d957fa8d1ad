"""Mish, a new activation: one expression; its torch function is made from it and compared with it."""

import sympy as sp

from fimcheck import theory

theory.add_activation("mish", theory.symbols.x * sp.tanh(sp.log(1 + sp.exp(theory.symbols.x))))
