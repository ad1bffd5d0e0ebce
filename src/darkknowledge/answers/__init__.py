"""The written answers, a module a question: sentences composed from claims, so that new numbers
change the words."""
