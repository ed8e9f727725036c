"""FastServe (NSDI'26) and the orders it is compared with."""
