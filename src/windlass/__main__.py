from windlass.cli import main

main()
