"""What predictions say of a classifier: pure functions of labels and probabilities, for records and reports alike.

What is not defined, such as the precision of a class that is never predicted, is not a number (nan), never 0.
"""
