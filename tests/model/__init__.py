"""The rules of docs/model.md, each calculated by hand: what kernels and oracle could only get wrong together."""
