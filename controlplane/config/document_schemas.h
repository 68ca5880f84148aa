// The tables of contract section 3, one per kind, and the rules that join several settings.
#pragma once

#include "controlplane/documents.h"
#include "schema.h"

namespace sluice::control {

// What `spec` of this kind may hold.
const Value& spec_value(Kind kind);
// kind, name, labels, spec, generation, status; spec itself is checked by spec_value().
const Value& envelope_value();
// Impossible combinations within one spec whose defaults are filled in. Tolerates wrong types,
// which are reported already.
void check_combinations(Kind kind, const Node& spec, const std::string& pointer, Errors& errors);

}  // namespace sluice::control
