# Products of the lab itself (see figures.mk).

FIGURES_IN_calibration := $(call figures_of_table,calibration/estimators)
$(eval $(call figures_source,calibration))
$(eval $(call figures_product,calibration,estimators,figures/calibration/estimators.png,calibration,scripts/calibration.py))
