"""One walk a family of containers: whether the elements of a file follow each other as they say."""
