// SPDX-License-Identifier: Apache-2.0
// Descriptors whose readiness a loop waits for. Asio's own constructor throws if the kernel refuses, which
// would end the loop; here a shortage is an ordinary error.
//
// Thread: the loop's. Cancellation: that of the wait. Ownership: Asio closes the descriptor that it watches.
#pragma once

#include "base/error.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fallbackd {

using Watched = boost::asio::posix::stream_descriptor;

/// Takes the descriptor, and closes it if it cannot be watched.
inline Result<Watched> watch(const boost::asio::any_io_executor& executor, Stage stage, int fd) {
  Watched watched(executor);
  boost::system::error_code error;
  watched.assign(fd, error);
  if (!error) return watched;
  ::close(fd);
  return failErrno(stage, "watch a descriptor", error.value());
}

/// Leaves the descriptor to its owner. Also fails if no descriptor is free, with EMFILE or ENFILE.
inline Result<Watched> watchCopy(const boost::asio::any_io_executor& executor, Stage stage, int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return failErrno(stage, "watch a descriptor");
  return watch(executor, stage, copy);
}

}  // namespace fallbackd
