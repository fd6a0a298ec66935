# Figures, summary tables and the report as files that make knows: only what changed is drawn, by one python process.
#
# The Makefile that includes this gives PY (python), RESULTS (results folder) and, if wanted, PAPER (one folder only).
# Each product's file depends on the CSVs or arrays that it shows (the user's and the reference's), on their number
# (so that a deleted one counts as a change) and on its scripts. Its rule only queues its name; `analysis` then
# draws the queue. A product without rows leaves a note, `.NAME.skipped`, which stands for its file until rows come.
# GNU make 3.81 or later.

PY ?= .venv/bin/python
RESULTS ?= results
PAPER ?=

FIGURES_DIR := $(RESULTS)/figures
TABLES_DIR := $(RESULTS)/tables
FIGURES_STATE := $(FIGURES_DIR)/.state
FIGURES_ROOTS := $(RESULTS) $(RESULTS)/reference

# The recipe's shell is a child of make, so that $PPID names one queue for each make.
FIGURES_QUEUE = $(FIGURES_STATE)/queue.$$PPID

# Lines "skipped NAME: why" with the same why become one.
FIGURES_JOIN := awk '{ why = $$0; sub(/^skipped [^:]*: /, "", why); name = $$2; sub(/:$$/, "", name); \
	if (!(why in names)) order[++n] = why; names[why] = names[why] (names[why] == "" ? "" : ", ") name } \
	END { for (i = 1; i <= n; i++) print "skipped " names[order[i]] ": " order[i] }'

.PHONY: analysis report figures-force
analysis:

# $(call figures_of_table,paper/table): its CSVs under every root.
figures_of_table = $(foreach root,$(FIGURES_ROOTS),$(wildcard $(root)/$(1)/*.csv $(root)/$(1)/*.csv.gz))
# $(call figures_of_arrays,paper,experiment): its array files, known by the experiment in their provenance.
figures_of_arrays = $(wildcard $(patsubst %.json,%.npz,$(shell \
	for root in $(FIGURES_ROOTS); do \
	  if [ -d $$root/$(1)/images ]; then grep -rl --include='*.json' '"experiment": "$(2)"' $$root/$(1)/images; fi; \
	done)))

# $(call figures_source,id): one file, FIGURES_STATE/id.changed, that is younger than its products when a file of the source,
# listed in FIGURES_IN_id, has changed. (Thousands of runs are prerequisites of it alone, not of every product.)
define figures_source
$(FIGURES_STATE)/$(1).changed: $$(FIGURES_IN_$(1)) $(FIGURES_STATE)/$(1).count
	@touch $$@
FIGURES_INPUTS += $$(FIGURES_IN_$(1))
$(FIGURES_STATE)/$(1).count: figures-force
	@mkdir -p $(FIGURES_STATE); echo $$(words $$(FIGURES_IN_$(1))) > $$@.$$$$PPID; if cmp -s $$@.$$$$PPID $$@; then rm $$@.$$$$PPID; else mv $$@.$$$$PPID $$@; fi
endef

# $(call figures_product,paper,name,folder/paper/name.suffix,source id,scripts)
define figures_product
FIGURES_ALL += $(1)/$(2)
FIGURES_NOTE_$(2) := $(dir $(RESULTS)/$(3)).$(2).skipped
FIGURES_FILE_$(2) := $$(or $$(wildcard $$(FIGURES_NOTE_$(2))),$(RESULTS)/$(3))
$$(FIGURES_FILE_$(2)): $(FIGURES_STATE)/$(4).changed $(5) $(FIGURES_SCRIPTS)
	@$$(if $$(FIGURES_DIRECT),$(PY) -m scripts.figures --results-dir $(RESULTS) $(2),mkdir -p $(FIGURES_STATE); rm -f $$(FIGURES_NOTE_$(2)); echo $(2) >> $$(FIGURES_QUEUE))
endef

# Where a product's file itself is asked for, its rule draws it.
FIGURES_DIRECT := $(filter $(FIGURES_DIR)/% $(TABLES_DIR)/%,$(MAKECMDGOALS))
FIGURES_ALL :=
FIGURES_INPUTS :=
FIGURES_SCRIPTS := scripts/style.py scripts/select.py scripts/slopes.py
# The products of each paper, and of the lab itself.
include $(sort $(wildcard scripts/figures_*.mk))

# An empty recipe: make shall not look through its built-in rules for a way to make every CSV. Several sources may list
# one file; sort names it once.
$(sort $(FIGURES_INPUTS)): ;

FIGURES_PAPERS := $(sort $(patsubst %/,%,$(dir $(FIGURES_ALL))))
FIGURES_WANTED := $(notdir $(if $(PAPER),$(filter $(PAPER)/%,$(FIGURES_ALL)),$(FIGURES_ALL)))
FIGURES_FILES := $(foreach name,$(FIGURES_WANTED),$(FIGURES_FILE_$(name)))

# Notes of what stays skipped are shown each time; those that python tries again, it reports itself.
analysis: $(FIGURES_FILES)
	$(if $(PAPER),$(if $(filter $(PAPER),$(FIGURES_PAPERS)),,@echo "error: no figures of '$(PAPER)': choose one of $(FIGURES_PAPERS)" >&2; exit 2))
	@mkdir -p $(FIGURES_STATE); queue=$(FIGURES_QUEUE); \
	cat /dev/null $(foreach name,$(FIGURES_WANTED),$(wildcard $(FIGURES_NOTE_$(name)))) 2>/dev/null | $(FIGURES_JOIN); \
	if [ -s $$queue ]; then \
	  names=`sort -u $$queue`; rm -f $$queue; \
	  $(PY) -m scripts.figures --results-dir $(RESULTS) $$names; \
	else echo "figures and tables: nothing has changed"; fi

report: $(RESULTS)/report.html
$(RESULTS)/report.html: $(FIGURES_FILES) scripts/report.py scripts/report.html.j2 scripts/provenance.py | analysis
	@$(PY) -m scripts.report --results-dir $(RESULTS)
