"""Secrets that stay in AWS Secrets Manager: read when a sandbox is let in, with the gateway's own credentials."""

import json

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import GatewayError, InputError


class AwsSecret(BaseModel):
    """Where a value is in AWS Secrets Manager."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, description="Name or ARN of the secret")
    key: str | None = Field(None, description="The key, where the secret is a JSON object of several")
    region: str | None = Field(None, description="Empty: as the gateway's environment or profile says")
    endpoint_url: str | None = Field(None, description="For VPC endpoints and compatible servers")

    def read(self) -> str:
        """Its current value. Raises GatewayError if AWS does not give it, InputError if it has no such key."""
        config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3, "mode": "standard"})
        try:
            client = boto3.client(
                "secretsmanager", region_name=self.region, endpoint_url=self.endpoint_url, config=config
            )
            text = client.get_secret_value(SecretId=self.id).get("SecretString")
        except ClientError as err:
            raise GatewayError(f"AWS does not give secret {self.id}: {err.response['Error'].get('Code')}") from err
        except BotoCoreError as err:
            raise GatewayError(f"AWS Secrets Manager cannot be asked for {self.id}: {type(err).__name__}") from err
        if text is None:
            raise InputError(f"AWS secret {self.id} is binary: store it as text")
        return text if self.key is None else self._part(text, self.key)

    def _part(self, text: str, key: str) -> str:
        try:
            part = json.loads(text)[key]
        except (ValueError, TypeError, KeyError):
            part = None
        if not isinstance(part, str):
            raise InputError(f"AWS secret {self.id} is no JSON object with a text under {key!r}")
        return part
