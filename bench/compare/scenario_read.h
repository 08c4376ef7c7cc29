// The reading rows, in a database that holds every key.
#pragma once

#include "bench/compare/scenario.h"

namespace bench {

void measure_reads(const Peer& peer, Database& database, const Setting& setting, const Reporter& report);
// This one writes, too.
void measure_reads_beside_writer(Database& database, const Setting& setting, const Reporter& report);

}  // namespace bench
