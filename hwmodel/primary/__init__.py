"""The kernel and CPU MMU that every design shares; it leaves notices and never knows a design."""
