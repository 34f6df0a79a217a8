// One piece of a fallback's output, from its FIFO into its log file.
#pragma once

#include "launcher/pod_files.hpp"

namespace fallbackd::launcher {

/// What the process wrote is taken out of its FIFO only once it is in the file: killed at any moment, this
/// loses nothing (it may write some of it twice). A file that cannot be written costs the lines. Blocks as
/// long as the file does. Stage logs.
Result<CopiedLog> copyLog(const CopyLogQuestion& question, const sys::UniqueFd& fifo);

/// Takes at most so many bytes out of a FIFO and throws them away; never blocks.
CopiedLog dropLog(int fifo, std::uint32_t maxBytes);

}  // namespace fallbackd::launcher
