"""What the machine can do at best: a large copy and a large matrix product, in the process and with the threads of the suite."""

from typing import NamedTuple

import torch

from sleepkit.bench.measure import Figures, digits, interleave, spread


class Ceilings(NamedTuple):
    """The best rates seen. A share of them is what an operation's own rate is divided by them.

    Attributes:
        copy: bytes a second of a copy too large for any cache, read and written bytes counted.
        matmul: FLOPs a second of a square fp32 matrix product.
        report: both with their spreads and sizes.
    """

    copy: float
    matmul: float
    report: Figures

    def rates(self, seconds: float, *, flops: int, n_bytes: int) -> Figures:
        """Return the rates of an operation and their shares of the ceilings.

        Args:
            seconds: of one run.
            flops: that it needs.
            n_bytes: that it has to move at least; a share above 1 means that the caches held them.
        """
        return {
            "GFLOP_per_s": digits(flops / seconds / 1e9),
            "share_of_matmul": digits(flops / seconds / self.matmul),
            "GB_per_s": digits(n_bytes / seconds / 1e9),
            "share_of_copy": digits(n_bytes / seconds / self.copy),
        }


def measure(*, copy_bytes: int = 2**28, matmul_size: int = 2048, rounds: int = 7, device: str = "cpu") -> Ceilings:
    """Measure both ceilings: the highest of the rounds, because noise only lowers them."""
    source = torch.ones(copy_bytes // 4, device=device)
    target = torch.empty_like(source)
    left, right = (torch.randn(matmul_size, matmul_size, device=device) for _ in range(2))
    product = torch.empty_like(left)
    seconds = interleave(
        {"copy": lambda: target.copy_(source), "matmul": lambda: torch.mm(left, right, out=product)}, rounds=rounds, device=device
    )
    copy = [2 * source.nbytes / took for took in seconds["copy"]]
    matmul = [2 * matmul_size**3 / took for took in seconds["matmul"]]
    report = {
        "copy_GB_per_s": spread(copy, factor=1e-9),
        "copy_bytes": source.nbytes,
        "matmul_GFLOP_per_s": spread(matmul, factor=1e-9),
        "matmul_size": matmul_size,
        "n_threads": torch.get_num_threads(),
    }
    return Ceilings(max(copy), max(matmul), report)
