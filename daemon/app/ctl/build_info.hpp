// SPDX-License-Identifier: Apache-2.0
// What this program was built from. Each build writes the source file (build_info.cmake).
#pragma once

namespace fallbackd::ctl {

extern const char* const kCommit;     // "unknown" without git
extern const char* const kBuildDate;  // of the commit, so that the same commit gives the same file

}  // namespace fallbackd::ctl
