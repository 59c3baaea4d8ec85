"""Point-in-time features of shoppers, products and their pairs, written once as Ibis expressions for every engine."""
