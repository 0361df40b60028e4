"""Programs for whoever deploys and operates the stack; none of them is deployed."""
