"""The questions: a folder each, with what is trained (plan), what it says (findings), how it is
shown (exhibits). :mod:`darkknowledge.questions.registry` lists them."""
