"""What a reader of results sees: figures of merit, tables, pictures, pages, and the folder that holds them."""
