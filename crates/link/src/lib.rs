//! Hub and spoke: the WAN hop of the Fleet API
