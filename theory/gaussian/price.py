"""Price's theorem: d/dc E[f(u) g(v)] = E[f'(u) g'(v)] for a Gaussian pair with covariance c.

Differentiate until no step or erf stands in both variables, evaluate, and integrate back in c; the
constants of integration are the products E f^(k) E g^(k) at c = 0, where u and v are independent.
"""

from dataclasses import dataclass
from functools import cache, cached_property

from fimcheck.theory.gaussian.algebraic import antiderivative, from_expr
from fimcheck.theory.gaussian.moments import Pair, is_elementary, mean_of_terms, pair_of_terms
from fimcheck.theory.gaussian.terms import Terms, derivative
from fimcheck.theory.symbols import Expr, c, p

MAX_ORDER = 10


@dataclass(frozen=True)
class PriceReduction:
    """F(c) = sum_k constants[k] c^k/k! + integral over t from 0 to c of (c-t)^(n-1)/(n-1)! kernel(t), n =
    order.

    left, right: f^(n) and g^(n).
    """

    order: int
    left: Terms
    right: Terms
    mean: Expr
    constants: tuple[Expr, ...]

    @cached_property
    def kernel(self) -> Expr:
        """E f^(n)(u) g^(n)(v)."""
        found = pair_of_terms(self.left, self.right, Pair(p, c, self.mean))
        assert found is not None
        return found


@cache
def reduce(left: Terms, right: Terms, mean: Expr, bare: bool = False) -> PriceReduction | None:
    """The reduction of E[f(u) g(v)] to one integral in c; None if no derivative is elementary.

    bare: piecewise polynomials are differentiated on until nothing but deltas is left.
    """
    if not (_ends(left) or _ends(right)):
        return None
    bare = bare and all(t.kind != "erf" and t.quad == t.lin == 0 for t in (*left, *right))
    constants = []
    for order in range(MAX_ORDER + 1):
        if all(is_elementary(s, t) and (not bare or s.kind == t.kind == "delta") for s in left for t in right):
            return PriceReduction(order, left, right, mean, tuple(constants))
        constants.append(mean_of_terms(left, mean, p) * mean_of_terms(right, mean, p))
        left, right = derivative(left), derivative(right)
    return None


def _ends(terms: Terms) -> bool:
    """Whether enough derivatives leave no step and no erf: they have to stand with polynomials only."""
    return all(t.kind in ("smooth", "delta") or (t.quad == 0 and t.lin == 0) for t in terms)


def closed_form(reduction: PriceReduction) -> tuple[Expr, tuple[Expr, ...]] | None:
    """F(c) of a reduction and the derivatives F^(n-1), .., F' met on the way; None outside the class of
    algebraic.py.
    """
    form = from_expr(reduction.kernel)
    stages = []
    for constant in reversed(reduction.constants):
        form = form and antiderivative(form)
        if form is None:
            return None
        form = form.plus_constant(constant - form.at_zero())
        stages.append(form.expr)
    return stages[-1], tuple(stages[:-1])
