"""Functions of c that are polynomial in c, r = sqrt(A^2 - c^2), 1/r^odd and the angle asin(c/A).

The class holds the kernels that Price's theorem meets for centered pairs and is closed under integration in
c, so the theorem can be undone any number of times. Integrals are found by parts.
"""

from dataclasses import dataclass

import sympy as sp

from fimcheck.theory.symbols import Expr, c

Key = tuple[int, int]


@dataclass(frozen=True)
class Algebraic:
    """Sum over (k, n) of coefficients[k, n](c) asin(c/A)^k r^n, with k in {0, 1} and n <= 1.

    square is A^2; None for a plain polynomial in c.
    """

    square: Expr | None
    coefficients: dict[Key, Expr]

    @property
    def expr(self) -> Expr:
        """The function as a SymPy expression in c."""
        if self.square is None:
            return sp.Add(*self.coefficients.values())
        root = sp.sqrt(sp.expand(self.square) - c**2)
        angle = sp.asin(c / _root(self.square))
        return sp.Add(*(_tidy(w) * angle**k * root**n for (k, n), w in self.coefficients.items()))

    def at_zero(self) -> Expr:
        """Value at c = 0."""
        scale = sp.S.One if self.square is None else _root(self.square)
        return sp.Add(*(w.subs(c, 0) * scale**n for (k, n), w in self.coefficients.items() if k == 0))

    def plus_constant(self, constant: Expr) -> "Algebraic":
        """The function plus a constant."""
        return _sum(self, Algebraic(None, {(0, 0): constant}))  # type: ignore[return-value]


def _root(square: Expr) -> Expr:
    return sp.sqrt(sp.factor(square))


def _tidy(weight: Expr) -> Expr:
    poly = sp.Poly(weight, c)
    return sp.Add(*(sp.factor(a) * c**k for (k,), a in poly.terms()))


def _build(square: Expr | None, items: list[tuple[Key, Expr]]) -> Algebraic | None:
    """Reduces r^2 to A^2 - c^2 where the power is 2 or more; None for a square of the angle."""
    out: dict[Key, Expr] = {}
    for (k, n), weight in items:
        while n >= 2 and square is not None:
            weight, n = weight * (square - c**2), n - 2
        if k > 1:
            return None
        out[k, n] = sp.expand(out.get((k, n), sp.S.Zero) + weight)
    return Algebraic(square, {key: w for key, w in out.items() if w != 0})


def _common(left: Expr | None, right: Expr | None) -> tuple[bool, Expr | None]:
    if left is None or right is None:
        return True, right if left is None else left
    return sp.cancel(left - right) == 0, left


def _sum(left: Algebraic, right: Algebraic) -> Algebraic | None:
    agree, square = _common(left.square, right.square)
    items = [*left.coefficients.items(), *right.coefficients.items()]
    return _build(square, items) if agree else None


def _product(left: Algebraic, right: Algebraic) -> Algebraic | None:
    agree, square = _common(left.square, right.square)
    if not agree:
        return None
    items = [
        ((k + i, n + j), v * w) for (k, n), v in left.coefficients.items() for (i, j), w in right.coefficients.items()
    ]
    return _build(square, items)


def from_expr(expr: Expr) -> Algebraic | None:
    """The function of c as a member of the class, None if it is not one."""
    if expr.is_polynomial(c):
        return Algebraic(None, {(0, 0): expr})
    if isinstance(expr, sp.Add | sp.Mul):
        combine = _sum if isinstance(expr, sp.Add) else _product
        total = from_expr(expr.args[0])
        for arg in expr.args[1:]:
            part = from_expr(arg)
            total = combine(total, part) if total is not None and part is not None else None
        return total
    if isinstance(expr, sp.Pow) and (2 * expr.exp).is_Integer and expr.base.is_polynomial(c):
        base = sp.Poly(expr.base, c)
        if base.degree() == 2 and base.coeff_monomial(c) == 0:
            lead = -base.coeff_monomial(c**2)
            square = sp.cancel(base.coeff_monomial(1) / lead)
            return Algebraic(square, {(0, int(2 * expr.exp)): lead**expr.exp})
    return None


def antiderivative(form: Algebraic) -> Algebraic | None:
    """An integral in c; None for a member such as 1/r^2, whose integral is a logarithm."""
    total = Algebraic(form.square, {})
    for (k, n), weight in form.coefficients.items():
        part = _integral_of_term(form.square, k, n, weight)
        combined = None if part is None else _sum(total, part)
        if combined is None:
            return None
        total = combined
    return total


def _integral_of_term(square: Expr | None, k: int, n: int, weight: Expr) -> Algebraic | None:
    if n == 0:
        primitive = sp.integrate(weight, c)
        if k == 0:
            return Algebraic(square, {(0, 0): primitive})
        # By parts: d asin(c/A)/dc = 1/r.
        rest = _integral_of_term(square, 0, -1, -primitive)
        return None if rest is None else _sum(Algebraic(square, {(1, 0): primitive}), rest)
    if k != 0 or square is None or n % 2 == 0:
        return None
    if n > 0:
        weight, n = sp.expand(weight * (square - c**2) ** ((n + 1) // 2)), -1
    return _build(square, _integral_over_root(sp.Poly(weight, c), -n, square))


def _integral_over_root(numerator: sp.Poly, power: int, square: Expr) -> list[tuple[Key, Expr]]:
    """Integral of numerator/r^n, n odd, by parts and by dividing the numerator by r^2 = A^2 - c^2."""
    if power == 1:
        out: list[tuple[Key, Expr]] = []
        for (k,), a in numerator.terms():
            # int c^k/r = -c^(k-1) r/k + (k-1)/k A^2 int c^(k-2)/r
            while k > 0:
                out.append(((0, 1), -a * c ** (k - 1) / k))
                a, k = a * square * sp.Rational(k - 1, k), k - 2
            if k == 0:
                out.append(((1, 0), a))
        return out
    quotient, remainder = sp.div(numerator, sp.Poly(square - c**2, c))
    constant, linear = remainder.coeff_monomial(1), remainder.coeff_monomial(c)
    # d r^(2-n) = (n-2) c/r^n and d (c r^(2-n)) = (n-2) A^2/r^n - (n-3) r^(2-n)
    ends = [((0, 2 - power), linear / (power - 2) + constant * c / ((power - 2) * square))]
    rest = quotient + sp.Poly(sp.Rational(power - 3, power - 2) * constant / square, c)
    return ends + _integral_over_root(rest, power - 2, square)
