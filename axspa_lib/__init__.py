"""Reproducible study of Aouad et al., ICIP 2022: sacro-iliac MRI to a diagnosis of axial spondyloarthritis."""

__version__ = "0.1.0"
