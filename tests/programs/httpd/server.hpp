// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server in one thread: one request per connection and a poll loop, so that a silent client
// delays no other.
#pragma once

#include <cstdint>
#include <string>

namespace shop {

struct Answers {
  std::string index;    // the answer to GET /, one line
  bool hungry = false;  // GET /eat is not answered: it takes memory, up to 1 GiB
};

/// Writes one line with the time to stdout, in a single write.
void log(const std::string& line);

/// Whether another program of the same user may listen on the port at the same time.
enum class Port : bool { own, shared };

/// Binds 0.0.0.0:port and serves until `stop` can be read (-1: forever), then serves the clients that are
/// still connected. Returns the error of a failure.
std::string serve(std::uint16_t port, Port sharing, int stop, const Answers& answers);

}  // namespace shop
