"""`python -m benchmarks [NAME ...]`: see command.py.

Nothing is imported unless this is the program: every process of a run would import it as well.
"""

if __name__ == "__main__":
    from benchmarks.command import main

    main(prog_name="python -m benchmarks")
