"""The wire: the contract's endpoints, as plain ASGI."""
