// SPDX-License-Identifier: Apache-2.0
// Whether a container would be rescued if its image could not be pulled: a closed list, which is also a
// metric label.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fallbackd::coverage {

// clang-format off
#define FALLBACKD_COVERAGE_VERDICTS(X)                                                            \
  X(rescued)             /* its fallback starts */                                                \
  X(limited)             /* its fallback starts, and differs from the container */                \
  X(not_needed)          /* kubelet never pulls its image */                                      \
  X(init_container)      /* must end before the others start: no fallback takes its place */      \
  X(observed)            /* mode observe: decided, not started */                                 \
  X(paused)              /* an operator paused new recoveries */                                  \
  X(not_known)           /* what it depends on is not known yet: specification, binary */         \
  X(not_covered)         /* no workload and no annotation is for it */                            \
  X(annotation_ignored)  /* an annotation requests a binary, but cannot be followed */            \
  X(not_allowed)         /* an annotation chooses what its namespace may not choose */            \
  X(no_binary)           /* there is no binary of the version that the pod requests */            \
  X(cannot_tell)         /* the pod does not state which version it wants */                      \
  X(not_admitted)        /* the binary would be refused */                                        \
  X(not_inherited)       /* the pod needs what a fallback cannot have */
// clang-format on

enum class Verdict : std::uint8_t {
#define X(name) name,
  FALLBACKD_COVERAGE_VERDICTS(X)
#undef X
};
inline constexpr std::size_t kVerdicts = static_cast<std::size_t>(Verdict::not_inherited) + 1;

std::string_view toString(Verdict verdict);
std::optional<Verdict> parseVerdict(std::string_view text);

/// Whether somebody should act: the container would not be rescued although it may need to be.
bool isProblem(Verdict verdict);

/// Number of containers by verdict.
using Counts = std::array<std::size_t, kVerdicts>;

}  // namespace fallbackd::coverage
