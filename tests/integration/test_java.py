"""Tests of the service with the HTTP client of Java, which asks for HTTP/2 in first requests."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.machines import need_command
from tests.processes import PATIENCE, Service

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.integration

ROWS = 3_000
PROGRAM = """
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;

public class Post {
    static void send(HttpClient client, String url, String type, BodyPublisher body)
            throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
            .header("Content-Type", type).header("X-Request-Timeout", "60").POST(body).build();
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        long labelled = response.body().split("\\"labels\\"", -1).length - 1;
        System.out.println(response.statusCode() + " " + labelled);
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0] + "/v1/labels", name = "{\\"name\\": \\"Cafe\\"}";
        HttpClient client = HttpClient.newHttpClient();
        for (int again = 0; again < 2; again++)
            send(client, url, "application/json",
                BodyPublishers.ofString("{\\"entities\\": [" + name + "]}"));
        byte[] lines = (name + "\\n").repeat(Integer.parseInt(arguments[1])).getBytes();
        send(HttpClient.newHttpClient(), url, "application/x-ndjson",
            BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(lines)));
        send(HttpClient.newHttpClient(), url, "application/x-ndjson",
            BodyPublishers.ofByteArray(lines));
    }
}
"""


def test_the_default_client_of_java_gets_labels(service: Service, tmp_path: Path) -> None:
    need_command("javac", "apt-get install openjdk-17-jdk-headless")
    program = tmp_path / "Post.java"
    program.write_text(PROGRAM)
    command = ["java", str(program), service.url, str(ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout.splitlines() == ["200 1", "200 1", f"200 {ROWS}", f"200 {ROWS}"], done.stderr
