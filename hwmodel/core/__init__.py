"""What every chain of steps stands on: the tables, what is counted, the clocks, the locks, the order of a program, its queue."""
