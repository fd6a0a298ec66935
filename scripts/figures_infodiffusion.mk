# Products of infodiffusion/ (see figures.mk).

INFO_SETS := sprites digits fashion-mnist celeba
INFO_PICTURES := samples:eval strips:interpolate traversals:disentangle redraws:latent_quality codes:plot_latent
INFO_SCRIPTS := scripts/infodiffusion.py scripts/mosaic.py scripts/summaries.py

FIGURES_IN_info-quality := $(call figures_of_table,infodiffusion/quality)
$(eval $(call figures_source,info-quality))
FIGURES_IN_info-sensitivity := $(call figures_of_table,infodiffusion/sensitivity)
$(eval $(call figures_source,info-sensitivity))
$(eval $(call figures_product,infodiffusion,info_sensitivity,figures/infodiffusion/info_sensitivity.png,info-sensitivity,$(INFO_SCRIPTS) scripts/infodiffusion_sensitivity.py))

# $(call info_picture,set,name,mode): a picture and its source.
define info_picture
FIGURES_IN_info-$(1)-$(2) := $$(call figures_of_arrays,infodiffusion,$(3)-$(1))
$$(eval $$(call figures_source,info-$(1)-$(2)))
$$(eval $$(call figures_product,infodiffusion,info_$(1)_$(2),figures/infodiffusion/info_$(1)_$(2).png,info-$(1)-$(2),$(INFO_SCRIPTS)))
endef
$(foreach set,$(INFO_SETS),\
  $(eval $(call figures_product,infodiffusion,info_$(set)_scores,figures/infodiffusion/info_$(set)_scores.png,info-quality,$(INFO_SCRIPTS)))\
  $(eval $(call figures_product,infodiffusion,info_$(set)_table,tables/infodiffusion/info_$(set)_table.md,info-quality,$(INFO_SCRIPTS)))\
  $(foreach picture,$(INFO_PICTURES),\
    $(eval $(call info_picture,$(set),$(word 1,$(subst :, ,$(picture))),$(word 2,$(subst :, ,$(picture)))))))
