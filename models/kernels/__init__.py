"""Building blocks of compiled kernels: JIT decorator, SIMD instructions, hash functions, tables."""
