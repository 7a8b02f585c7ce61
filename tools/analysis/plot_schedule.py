"""Draw alpha and beta over the training run of a config."""

from dr2net_mm.analysis.schedule_plot import main

if __name__ == '__main__':
    main()
