"""The bench: `python -m bench` measures Bakehouse, the floor, the bare SDK and rivals side by side; bench/README.md tells more."""
