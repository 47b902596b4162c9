"""The pages of the site, from Markdown files of the checkout and from the code."""
