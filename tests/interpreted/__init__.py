"""The Triton kernels in Triton's interpreter. tests/ops/test_triton.py runs this folder in a process of its own."""
