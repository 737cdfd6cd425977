"""`metaclaw bench report`: the committed result files as one page, with pictures, and the table in the README"""
