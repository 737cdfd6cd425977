"""`metaclaw doctor`: looks at everything that MetaClaw needs, changes nothing, and says how to mend what is wrong."""
