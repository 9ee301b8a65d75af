"""Engines run cells somewhere: cell JSON in, record JSON out."""
