"""Measure the gradient error of reversible backpropagation (the paper's Fig. 3)."""

from dr2net_mm.analysis.gradient_error import main

if __name__ == '__main__':
    main()
