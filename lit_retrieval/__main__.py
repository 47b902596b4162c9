"""python -m lit_retrieval."""

from lit_retrieval.cli import main

if __name__ == "__main__":
    main()
