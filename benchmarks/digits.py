"""Real data: scikit-learn's digits through a small convolutional network with BatchNorm2d in training mode.

python -m benchmarks.digits        # needs scikit-learn
"""

import time

import torch
from torch import nn

from fimcheck.numerics import spectrum


def main() -> None:
    """Print the spectrum's head in training and evaluation mode, exact and matrix-free."""
    from sklearn.datasets import load_digits  # type: ignore[import-not-found]

    inputs = torch.as_tensor(load_digits().images[:100]).unsqueeze(1).float() / 16
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    print("mode        loss      method        m                    s                    lambda_max   seconds")
    for training in (True, False):
        for loss in ("squared", "softmax"):
            for method in ("exact", "matrix-free"):
                start = time.perf_counter()
                found = spectrum(net.train(training), inputs, loss=loss, method=method)
                mode, seconds = "training" if training else "evaluation", time.perf_counter() - start
                m, s = f"{found.m:.4g} ± {found.m_error:.1g}", f"{found.s:.4g} ± {found.s_error:.1g}"
                numbers = f"{m:<21}{s:<21}{found.lambda_max:<13.6g}{seconds:.2f}"
                print(f"{mode:<12}{loss:<10}{method:<14}{numbers}")


if __name__ == "__main__":
    main()
