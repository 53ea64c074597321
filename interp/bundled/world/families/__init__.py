"""The document families: each writes one kind of document into a draft."""
