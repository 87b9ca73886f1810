-- How full budgets are is looked at every half minute, over all organisations.
create index limit_rules_of_budgets on limit_rules (id) where period is not null;
