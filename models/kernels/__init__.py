"""Building blocks of compiled kernels: the JIT decorator, SIMD instructions, the hash table."""
