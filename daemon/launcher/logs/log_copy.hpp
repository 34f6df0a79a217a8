// SPDX-License-Identifier: Apache-2.0
// One piece of a fallback's output, from its FIFO into its log file.
#pragma once

#include "launcher/pod_files.hpp"

namespace fallbackd::launcher {

/// Removes output from the FIFO only after it is in the file: a worker that is killed at any moment loses
/// nothing (some output may be written twice). If the file cannot be written, the lines are lost. Blocks as
/// long as the file does. Stage logs.
Result<CopiedLog> copyLog(const CopyLogQuestion& question, const sys::UniqueFd& fifo);

/// Removes and discards at most this many bytes from a FIFO. Blocks only while another program locks it.
CopiedLog dropLog(int fifo, std::uint32_t maxBytes);

/// Opens `name` in `folder`. Reason unsafe_file_type if it is not a FIFO. Blocks as dropLog() does.
Result<sys::UniqueFd> openFifoAt(const sys::UniqueFd& folder, const std::string& name,
                                 const std::string& what, int flags);

}  // namespace fallbackd::launcher
