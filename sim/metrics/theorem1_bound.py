"""Theorem 1 of Diffusion GAN (Wang, Pavan, Sayed): how far apart peers may be.

Equation 17: once i >= 3 ln(mu) / ln(lambda_2) + O(1), the expected disagreement of the
discriminators is at most mu² lambda_2² (B² + sigma²) / (1 - lambda_2)² + O(mu³), where B bounds the
true gradients and sigma² the variance of their noise. It is proved for plain SGD, with the other
net held fixed. Under alternate updates, as here, the same line is a diagnostic, not a guarantee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from peer.experiment import Experiment


def disagreement_bound(
    mu: float, lambda_2: float, gradient_bound_sq: float, *, combine_last: bool = True
) -> float:
    """The right-hand side of equation 17, without its O(mu³).

    Args:
        mu: step size; with tau local steps between combines, tau times it.
        lambda_2: second largest modulus of the combination matrix's eigenvalues, in [0, 1].
        gradient_bound_sq: B² + sigma², a bound on the mean squared norm of mini-batch gradients.
        combine_last: adapt-then-combine, as in the paper. Where the adapt comes last
            (combine-then-adapt, consensus) the newest gradients have not been averaged yet, and
            the factor lambda_2² is absent: ||x_i|| <= lambda_2 ||x_i-1|| + mu ||g_i|| in place of
            lambda_2 (||x_i-1|| + mu ||g_i||).

    Returns:
        Squared parameter units; infinite where lambda_2 is 1 (nobody talks).
    """
    if lambda_2 >= 1.0:
        return math.inf
    contraction = lambda_2 if combine_last else 1.0
    return (mu * contraction / (1.0 - lambda_2)) ** 2 * gradient_bound_sq


def adam_surrogate_bound(
    mu: float, lambda_2: float, parameters: int, *, combine_last: bool = True
) -> float:
    """What stands in for equation 17 under Adam, to which the theorem does not apply.

    Adam moves each of the P parameters by about mu at most, so the step's norm is at most about
    mu sqrt(P), which takes the place of mu times the gradient's norm. A surrogate: to be drawn
    dashed, and to be called that.
    """
    return disagreement_bound(mu, lambda_2, float(parameters), combine_last=combine_last)


@dataclass(frozen=True)
class Bound:
    """A line to hold a run's disagreement against.

    Attributes:
        value: squared parameter units.
        name: what to call it in a legend.
        surrogate: whether the theorem does not apply and something stands in for it.
    """

    value: float
    name: str
    surrogate: bool


def bound_for(
    experiment: Experiment,
    net: str,
    lambda_2: float,
    *,
    largest_gradient_sq: float | None,
    parameters: int,
) -> Bound | None:
    """The bound that fits how ``net`` was trained; None where there is nothing to say.

    Args:
        experiment: names the algorithm and the optimizer.
        net: ``generator`` or ``discriminator``.
        lambda_2: of the combination matrix.
        largest_gradient_sq: the largest squared norm of a mini-batch gradient that was logged,
            which stands for B² + sigma²; None where none was.
        parameters: trained parameters P of the net.
    """
    if experiment.algorithm.name != "diffusion":
        return None
    settings, optimizer = experiment.algorithm.settings, experiment.optimizer_for(net)
    mu = float(optimizer.settings.get("lr", 1e-3)) * int(settings.get("local_steps", 1))
    combine_last = settings.get("order", "adapt-then-combine") == "adapt-then-combine"
    if optimizer.name != "sgd":
        value = adam_surrogate_bound(mu, lambda_2, parameters, combine_last=combine_last)
        return Bound(value, f"surrogate for the bound ({optimizer.name}: step ≤ μ√P)", True)
    if largest_gradient_sq is None or not math.isfinite(largest_gradient_sq):
        return None
    momentum = float(optimizer.settings.get("momentum", 0.0))
    if momentum == 0.0:
        value = disagreement_bound(mu, lambda_2, largest_gradient_sq, combine_last=combine_last)
        return Bound(value, "bound of Theorem 1", False)
    if not 0.0 < momentum < 1.0:
        return None
    # Momentum adds up past gradients: at most 1 / (1 - momentum) times the largest of them.
    value = disagreement_bound(
        mu / (1.0 - momentum), lambda_2, largest_gradient_sq, combine_last=combine_last
    )
    return Bound(value, "surrogate for the bound (SGD with momentum)", True)
