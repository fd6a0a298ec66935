# Products of itdiffusion/ (see figures.mk).

# ---- the 2-D study
FIGURES_IN_shapes_nll := $(call figures_of_table,itdiffusion/nll) $(call figures_of_table,itdiffusion/samples)
FIGURES_IN_shapes_curve := $(call figures_of_table,itdiffusion/mse_curve)
FIGURES_IN_shapes_grid := $(call figures_of_table,itdiffusion/density_grid) $(call figures_of_arrays,itdiffusion,2d)
FIGURES_IN_shapes_arrays := $(call figures_of_arrays,itdiffusion,2d)
$(foreach source,nll curve grid arrays,$(eval $(call figures_source,shapes_$(source))))

$(eval $(call figures_product,itdiffusion,shapes_nll,figures/itdiffusion/shapes_nll.png,shapes_nll,scripts/itdiffusion_2d.py))
$(eval $(call figures_product,itdiffusion,shapes_mse,figures/itdiffusion/shapes_mse.png,shapes_curve,scripts/itdiffusion_2d.py))
$(eval $(call figures_product,itdiffusion,shapes_contours,figures/itdiffusion/shapes_contours.png,shapes_grid,scripts/itdiffusion_2d.py))
$(eval $(call figures_product,itdiffusion,shapes_samples,figures/itdiffusion/shapes_samples.png,shapes_arrays,scripts/itdiffusion_2d.py))
$(eval $(call figures_product,itdiffusion,shapes_table,tables/itdiffusion/shapes_table.md,shapes_nll,scripts/itdiffusion_2d.py scripts/summaries.py))

# ---- mutual information
FIGURES_IN_mi := $(call figures_of_table,itdiffusion/mi)
$(eval $(call figures_source,mi))
$(eval $(call figures_product,itdiffusion,mi_truth,figures/itdiffusion/mi_truth.png,mi,scripts/itdiffusion_mi.py))
$(eval $(call figures_product,itdiffusion,mi_table,tables/itdiffusion/mi_table.md,mi,scripts/itdiffusion_mi.py scripts/summaries.py))

# ---- the image study
NLL_SETS := digits patches cifar10
FIGURES_IN_images_nll := $(call figures_of_table,itdiffusion/nll) $(call figures_of_table,itdiffusion/baselines)
FIGURES_IN_images_curve := $(call figures_of_table,itdiffusion/mse_curve)
FIGURES_IN_images_both := $(call figures_of_table,itdiffusion/nll) $(call figures_of_table,itdiffusion/mse_curve)
$(foreach set,$(NLL_SETS),$(eval FIGURES_IN_nll_arrays-$(set) := $$(call figures_of_arrays,itdiffusion,$(set))))
$(foreach source,images_nll images_curve images_both $(foreach set,$(NLL_SETS),nll_arrays-$(set)),\
  $(eval $(call figures_source,$(source))))

NLL_SCRIPTS := scripts/itdiffusion_images.py scripts/itdiffusion_tables.py scripts/summaries.py scripts/mosaic.py
# $(call nll_figure,set,name,source) and $(call nll_table,set,name,source)
nll_figure = $(eval $(call figures_product,itdiffusion,nll_$(1)_$(2),figures/itdiffusion/nll_$(1)_$(2).png,$(3),$(NLL_SCRIPTS)))
nll_table = $(eval $(call figures_product,itdiffusion,nll_$(1)_table_$(2),tables/itdiffusion/nll_$(1)_table_$(2).md,$(3),$(NLL_SCRIPTS)))
$(foreach set,$(NLL_SETS),\
  $(call nll_figure,$(set),cont_density,images_curve)$(call nll_figure,$(set),disc_density,images_curve)\
  $(call nll_figure,$(set),progress,images_both)$(call nll_figure,$(set),samples,nll_arrays-$(set))\
  $(call nll_table,$(set),mass,images_nll)$(call nll_table,$(set),density,images_nll)\
  $(call nll_table,$(set),spread,images_curve))
