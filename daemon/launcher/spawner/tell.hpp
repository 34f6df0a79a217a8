// How spare and child tell the spawner how far they are.
#pragma once

#include "launcher/spawner/steps.hpp"

#include <cstdint>
#include <string_view>

namespace fallbackd::launcher {

/// CLOCK_MONOTONIC, as stamps travel.
std::int64_t monotonicNs();

/// Writes the report to `pipe`; ends the process where nobody reads any more.
void tell(int pipe, const ChildReport& report);

/// Writes a failure with errno as it is now and ends the process.
[[noreturn]] void giveUp(int pipe, Step step, std::string_view object = {});

}  // namespace fallbackd::launcher
