# Products of scoregen/ (see figures.mk).

FIGURES_SCORE_PARTS := scripts/scoregen_parts.py
FIGURES_IN_score-kl := $(call figures_of_table,scoregen/kl)
FIGURES_IN_score-density := $(call figures_of_table,scoregen/density)
FIGURES_IN_score-capacity := $(call figures_of_table,scoregen/capacity)
FIGURES_IN_score-clusters := $(call figures_of_table,scoregen/clusters)
FIGURES_IN_score-pictures := $(foreach set,mnist fashion-mnist digits,$(call figures_of_arrays,scoregen,clusters-$(set)))
$(foreach source,kl density capacity clusters pictures,$(eval $(call figures_source,score-$(source))))

# $(call figures_score,name,source,scripts)
figures_score = $(eval $(call figures_product,scoregen,$(1),figures/scoregen/$(1).png,score-$(2),$(3) $(FIGURES_SCORE_PARTS)))
$(foreach name,score_kl_epochs score_batches,$(call figures_score,$(name),kl,scripts/scoregen_dynamics.py))
$(call figures_score,score_densities,density,scripts/scoregen_dynamics.py)
$(foreach name,score_distance score_samples score_bound_time,$(call figures_score,$(name),kl,scripts/scoregen_sweeps.py))
$(call figures_score,score_capacity,capacity,scripts/scoregen_sweeps.py)
$(call figures_score,score_clusters_loss,clusters,scripts/scoregen_clusters.py)
$(call figures_score,score_clusters_samples,pictures,scripts/scoregen_clusters.py scripts/mosaic.py)

# $(call figures_score_table,name,source)
figures_score_table = $(eval $(call figures_product,scoregen,$(1),tables/scoregen/$(1).md,score-$(2),scripts/scoregen_tables.py scripts/summaries.py $(FIGURES_SCORE_PARTS)))
$(foreach name,score_table_minima score_table_slopes,$(call figures_score_table,$(name),kl))
$(call figures_score_table,score_table_capacity,capacity)
$(call figures_score_table,score_table_clusters,clusters)
