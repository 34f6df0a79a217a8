// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server in one thread: one request a connection, a poll loop, so that a client that
// connects and stays silent holds up nobody.
#pragma once

#include <cstdint>
#include <string>

namespace shop {

struct Answers {
  std::string index;  // what GET / says, one line
};

/// One line to stdout with the time, in a single write.
void log(const std::string& line);

/// Binds 0.0.0.0:port and serves for ever. Returns only on failure, with what failed.
std::string serve(std::uint16_t port, const Answers& answers);

}  // namespace shop
