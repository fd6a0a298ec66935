# Products of diffusion/ (see figures.mk).

FIGURES_TOY := toy_bound_T toy_bound_m toy_terms_T toy_variants_T
FIGURES_DATASETS := digits mnist fashion-mnist cifar10
FIGURES_PARTS := scripts/diffusion_parts.py

FIGURES_IN_toy := $(call figures_of_table,diffusion/toy_bound)
FIGURES_IN_image := $(call figures_of_table,diffusion/image_bound)
$(foreach set,toy $(FIGURES_DATASETS),$(eval FIGURES_IN_arrays-$(set) := $$(call figures_of_arrays,diffusion,$(set))))
$(foreach source,toy image $(foreach set,toy $(FIGURES_DATASETS),arrays-$(set)),\
  $(eval $(call figures_source,$(source))))

$(foreach name,$(FIGURES_TOY),\
  $(eval $(call figures_product,diffusion,$(name),figures/diffusion/$(name).png,toy,scripts/diffusion_toy.py $(FIGURES_PARTS))))
$(eval $(call figures_product,diffusion,toy_samples_T,figures/diffusion/toy_samples_T.png,arrays-toy,scripts/diffusion_toy.py scripts/diffusion_arrays.py))
$(foreach name,toy_table_T toy_table_m,\
  $(eval $(call figures_product,diffusion,$(name),tables/diffusion/$(name).md,toy,scripts/summaries.py $(FIGURES_PARTS))))
$(foreach set,$(FIGURES_DATASETS),\
  $(foreach name,$(set)_bpd_T $(set)_bound_T $(set)_terms_T,\
    $(eval $(call figures_product,diffusion,$(name),figures/diffusion/$(name).png,image,scripts/diffusion_images.py $(FIGURES_PARTS))))\
  $(eval $(call figures_product,diffusion,$(set)_samples_T,figures/diffusion/$(set)_samples_T.png,arrays-$(set),scripts/diffusion_images.py scripts/mosaic.py scripts/diffusion_arrays.py))\
  $(eval $(call figures_product,diffusion,$(set)_table_T,tables/diffusion/$(set)_table_T.md,image,scripts/summaries.py $(FIGURES_PARTS))))

FIGURES_IN_choice := $(call figures_of_table,diffusion/toy_choice)
FIGURES_IN_penalty-toy := $(call figures_of_table,diffusion/toy_penalty)
FIGURES_IN_penalty-digits := $(call figures_of_table,diffusion/image_penalty)
$(foreach source,choice penalty-toy penalty-digits,$(eval $(call figures_source,$(source))))
$(foreach name,toy_choice_T toy_path_T,\
  $(eval $(call figures_product,diffusion,$(name),figures/diffusion/$(name).png,choice,scripts/diffusion_choice.py $(FIGURES_PARTS))))
$(eval $(call figures_product,diffusion,toy_choice_table,tables/diffusion/toy_choice_table.md,choice,scripts/diffusion_choice.py scripts/summaries.py $(FIGURES_PARTS)))
$(foreach set,toy digits,\
  $(eval $(call figures_product,diffusion,$(set)_penalty,figures/diffusion/$(set)_penalty.png,penalty-$(set),scripts/diffusion_penalty.py $(FIGURES_PARTS)))\
  $(eval $(call figures_product,diffusion,$(set)_penalty_table,tables/diffusion/$(set)_penalty_table.md,penalty-$(set),scripts/diffusion_penalty.py scripts/summaries.py $(FIGURES_PARTS))))
