// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/new_file.hpp"

#include "sys/fd.hpp"
#include "sys/file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace fallbackd::ctl {

Result<> writeNewFile(const std::string& path, const std::string& text, mode_t mode) {
  const sys::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd && errno == EEXIST) return fail(Stage::cli, Reason::already_exists, path + " exists already");
  if (!fd) return failErrno(Stage::cli, "create " + path);
  auto written = sys::writeAll(Stage::cli, fd, text, path);
  if (written && ::fsync(fd.get()) != 0) written = failErrno(Stage::cli, "fsync " + path);
  if (!written) static_cast<void>(::unlink(path.c_str()));
  return written;
}

}  // namespace fallbackd::ctl
